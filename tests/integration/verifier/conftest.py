import sys

from tests.support.verifier import PLUGINS

sys.path.insert(0, str(PLUGINS))
