"""How children come to be: forked from the worker, executed anew, or forked from a zygote."""
