"""The embedding store: what was encoded once is not encoded again.

SQLite in the cache folder, two tables beside the list of models:

    vectors   model, content digest                          → float32 vector, checksum, when it was last used
    files     path, part, size, mtime and ctime in ns, inode → content digest

so an unchanged file is not even opened, and a copied one is read but not encoded. Prompts live in
`vectors` too, under the digest of their text. A vector whose checksum is wrong is encoded again. A run
never fails for its store: what is damaged, newer, locked, read-only or full costs a warning.
"""

from siglipcli.store.space import Entry, Space
from siglipcli.store.states import (
    FileState,
    content_digest,
    file_state,
    file_states,
    text_digest,
)
from siglipcli.store.store import Store, Usage

__all__ = ["Entry", "FileState", "Space", "Store", "Usage"]
__all__ += ["content_digest", "file_state", "file_states", "text_digest"]
