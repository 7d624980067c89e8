module driftlock.test/booking

go 1.19

require (
	driftlock.test/driftlock v0.1.0
	github.com/lib/pq v1.10.9
)

replace driftlock.test/driftlock => ../
