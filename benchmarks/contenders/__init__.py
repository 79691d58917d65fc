"""Who is measured, a module each: `epochs(case, digits, threads, n_epochs, clock)` gives the seconds of each epoch."""
