"""What makes a method: which branch is better, which tokens carry loss, and the loss itself."""
