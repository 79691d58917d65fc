"""Jobs and the registry over SQLAlchemy Core; the only rooms that know SQL."""

from service.store.database import SqlDatabase
from service.store.jobs import SqlJobRows
from service.store.models import SqlModelRows

__all__ = ["SqlDatabase", "SqlJobRows", "SqlModelRows"]
