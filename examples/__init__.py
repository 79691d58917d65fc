"""The five systems that trainserve comes from, as runs that `POST /jobs` and `trainserve train --spec` take."""
