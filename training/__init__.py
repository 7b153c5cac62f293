"""How a policy learns: the loop, its steps, what they keep, and what is told of them."""
