"""`python -m training` is `parley`, also where the package's script is not on the PATH."""

from training.cli.main import main

main()
