"""The worker that one writes from the tutorials of arq and aiomysql, tuned fairly: what Lockstep is compared with."""
