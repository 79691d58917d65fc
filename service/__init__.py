"""The microservice: jobs that train `nn` networks, a registry of what they made, and predictions from it."""
