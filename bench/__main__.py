"""`python -m bench` (make bench): the measurements of this project."""

import sys

from bench.side_by_side import main

sys.exit(main())
