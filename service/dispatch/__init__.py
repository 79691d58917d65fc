"""How a job's id reaches a worker."""
