module driftlock.test/driftlock

go 1.19
