package imaging

/*
#include "outofmemory.h"
*/
import "C"

// refuseAllocation fails one allocation of at least that many bytes, after that
// many have succeeded; a negative number stops it. It is for tests.
func refuseAllocation(after, least int) {
	C.memory_refuse(C.gint(after), C.gsize(least))
}
