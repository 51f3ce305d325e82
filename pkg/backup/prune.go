package backup

import "context"

// prune deletes the snapshots before the newest ones that are kept, and then the blobs
// that no snapshot needs.
func (b *backup) prune(ctx context.Context) (deleted int, err error) {
	names, err := b.store.Snapshots(ctx)
	if err != nil || len(names) <= b.Keep {
		return 0, err
	}
	old := names[:len(names)-b.Keep]
	for _, name := range names[len(old):] {
		entries, err := readSnapshot(ctx, b.store, name)
		if err != nil {
			return 0, err
		}
		for _, e := range entries {
			if err := b.need(ctx, e); err != nil {
				return 0, err
			}
		}
	}
	var unused []string
	err = b.store.Blobs(ctx, func(digest string, _ int64) {
		// A blob that is not in the list was added by this backup.
		if stored := b.blobs.find(digest); stored != nil && stored.state() == unneeded {
			unused = append(unused, digest)
		}
	})
	if err != nil {
		return 0, err
	}
	for _, name := range old { // first: a snapshot without its blobs could not be restored
		if err := b.store.DeleteSnapshot(ctx, name); err != nil {
			return deleted, err
		}
		deleted++
	}
	for _, digest := range unused {
		if err := b.store.Delete(ctx, digest); err != nil {
			return deleted, err
		}
	}
	return deleted, nil
}

// need marks the blobs of an entry as needed. Most manifests are those of sets in this
// backup, whose blobs are marked already, and are not read.
func (b *backup) need(ctx context.Context, e entry) error {
	if e.SHA256 == "" {
		return nil
	}
	state := needed
	if e.Original {
		state = neededWithOriginal
	}
	if stored := b.blobs.find(e.SHA256); stored != nil && stored.state() >= state {
		return nil
	}
	b.mark(e.SHA256, state)
	if !e.isSet() {
		return nil
	}
	_, m, err := readManifest(ctx, b.store, e)
	if err != nil {
		return err
	}
	for _, v := range m.Variants {
		b.mark(v.SHA256, needed)
	}
	if e.Original {
		b.mark(m.Source.SHA256, needed)
	}
	return nil
}

// mark marks a blob as needed. Those that are not in the list need no mark.
func (b *backup) mark(digest string, state uint64) {
	if stored := b.blobs.find(digest); stored != nil {
		stored.setState(max(stored.state(), state))
	}
}
