"""Journal of an input: an append-only file that holds what the first pass saw.

A journal is JSON Lines: the header, then for each chunk one line for each frame and one that closes the chunk, and at
the end one line that closes the journal. A chunk is appended as a whole and synchronised to the disk. Checksums cover
every byte. What a killed process left behind the last whole chunk is cut off when the work is resumed.
"""

from .file import Journal as Journal
from .file import Whole as Whole
from .file import is_finished as is_finished
from .file import read_chunks as read_chunks
from .file import read_header as read_header
from .file import whole_part as whole_part
from .records import FORMAT as FORMAT
from .records import SUFFIX as SUFFIX
from .records import Chunk as Chunk
from .records import End as End
from .records import JournalFace as JournalFace
from .records import JournalFrame as JournalFrame
from .records import JournalHeader as JournalHeader
from .records import checksum as checksum
