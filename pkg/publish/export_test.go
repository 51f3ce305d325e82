package publish

// DropMissing is what a reader calls that found a file of a set missing.
func (s *Store) DropMissing(id, file string) { s.dropMissing(id, file) }
