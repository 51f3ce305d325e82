package bucket

import "sync"

// drops keeps a set that another node has deleted meanwhile from being added. Between a
// look at the index, or a commit, and the addition the news of the deletion may come.
type drops struct {
	mu      sync.Mutex
	watched map[*addition]struct{}
}

// addition is a set that is about to be added.
type addition struct {
	id      string
	dropped bool
}

// watch begins the addition of a set. The caller must call end.
func (d *drops) watch(id string) *addition {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := &addition{id: id}
	d.watched[a] = struct{}{}
	return a
}

// end calls add, unless the set was dropped since the addition began; nil adds nothing.
func (d *drops) end(a *addition, add func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.watched, a)
	if add != nil && !a.dropped {
		add()
	}
}

// drop calls do for a set that another node has deleted.
func (d *drops) drop(id string, do func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for a := range d.watched {
		a.dropped = a.dropped || a.id == id
	}
	do()
}
