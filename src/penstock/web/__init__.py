"""What the services' `api.py` need of FastAPI: roles, cursor pages and error responses."""
