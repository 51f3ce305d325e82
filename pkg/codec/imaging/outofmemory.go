package imaging

/*
#include "outofmemory.h"
*/
import "C"

// refuseAllocation has one allocation of at least that many bytes refused, after
// that many have succeeded; a negative number ends that. It is for tests.
func refuseAllocation(after, least int) {
	C.memory_refuse(C.gint(after), C.gsize(least))
}
