"""`make bench`: what a worker of Lockstep does in a second, beside named others on the same servers."""
