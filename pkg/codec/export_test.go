package codec

import "time"

// CheckIdleEvery has pools look at their idle children this often.
func CheckIdleEvery(d time.Duration) { idleCheck = d }
