"""What people see in a browser: the page of a run on Dask's dashboard, and the report that outlasts it."""
