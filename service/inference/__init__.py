"""From the body of a request to a tensor, through a loaded model, to an answer."""
