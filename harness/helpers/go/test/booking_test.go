// The helper, with driftlock and PostgreSQL as they are.
package booking

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"driftlock.test/driftlock"
	_ "github.com/lib/pq"
)

var (
	schema     = driftlock.Register("schema", createSchema)
	book       = driftlock.Register("book", booking("SELECT id FROM seats WHERE id = 1"))
	bookLocked = driftlock.Register("book-locked", booking("SELECT id FROM seats WHERE id = 1 FOR UPDATE"))
	fail       = driftlock.Register("fail", func(string) error { return errors.New("no such passenger") })
	soldOnce   = map[string]string{"sold-once": "SELECT seat FROM bookings GROUP BY seat HAVING count(*) > 1"}
)

func TestMain(m *testing.M) { driftlock.Main(m) }

func connected(job func(*sql.DB) error) error {
	// Unlike other drivers, pq asks for TLS where nothing is said.
	database, err := sql.Open("postgres", os.Getenv("DATABASE_URL")+"?sslmode=disable")
	if err != nil {
		return err
	}
	defer database.Close()
	return job(database)
}

func createSchema(string) error {
	return connected(func(database *sql.DB) error {
		_, err := database.Exec(`CREATE TABLE seats (id int); INSERT INTO seats VALUES (1);
			CREATE TABLE bookings (seat int, passenger text)`)
		return err
	})
}

func booking(seat string) func(string) error {
	return func(actor string) error {
		fmt.Println("what a function prints is no answer")
		return connected(func(database *sql.DB) error {
			transaction, err := database.Begin()
			if err != nil {
				return err
			}
			defer transaction.Rollback()
			if _, err := transaction.Exec(seat); err != nil {
				return err
			}
			var taken int
			if err := transaction.QueryRow("SELECT count(*) FROM bookings WHERE seat = 1").Scan(&taken); err != nil {
				return err
			}
			if taken == 0 {
				if _, err := transaction.Exec("INSERT INTO bookings VALUES (1, $1)", actor); err != nil {
					return err
				}
			}
			return transaction.Commit()
		})
	}
}

func customers(job driftlock.Job) []driftlock.Actor {
	return []driftlock.Actor{{Name: "customer", Job: job, Count: 2}}
}

// refused is why a race has no result.
func refused(t *testing.T, code int, spec driftlock.Spec, says ...string) {
	t.Helper()
	_, err := driftlock.Explore(t.Name(), spec)
	var of *driftlock.Error
	if !errors.As(err, &of) || of.Code != code {
		t.Fatalf("expected code %d, and it is: %v", code, err)
	}
	for _, text := range says {
		if !strings.Contains(of.Message, text) {
			t.Errorf("%s\ndoes not say: %s", of.Message, text)
		}
	}
}

func TestARaceThatIsLostSaysWhatDriftlockPrinted(t *testing.T) {
	refused(t, 1, driftlock.Spec{SetupJob: schema, Actors: customers(book), Invariants: soldOnce},
		"violation of sold-once", "INSERT INTO bookings", "'customer-2'", "replay: ")
}

func TestARaceThatHoldsSaysWhatWasSeen(t *testing.T) {
	raced := driftlock.Race(t, driftlock.Spec{SetupJob: schema, Actors: customers(bookLocked), Invariants: soldOnce})
	if raced.Verdict != "pass" || raced.Coverage != "exhausted" || raced.Executions < 2 || raced.Violated != nil {
		t.Errorf("%+v", raced)
	}
}

func TestAKnownFaultIsExpectedByTheNameOfItsCheck(t *testing.T) {
	sql := "CREATE TABLE seats (id int);\nCREATE TABLE bookings (seat int, passenger text)"
	spec := driftlock.Spec{Setup: sql, Actors: customers(book), Invariants: soldOnce, Violates: "sold-once"}
	if raced := driftlock.Race(t, spec); !reflect.DeepEqual(raced.Violated, []string{"sold-once"}) {
		t.Errorf("%+v", raced)
	}
}

func TestAnErrorOfAnActorThatIsAloneIsTold(t *testing.T) {
	refused(t, 2, driftlock.Spec{SetupJob: schema, Actors: customers(fail)}, "no such passenger", "nothing runs concurrently")
}

func TestASetUpThatFailsIsAnErrorWithItsWords(t *testing.T) {
	refused(t, 2, driftlock.Spec{Setup: "INSERT INTO nowhere VALUES (1)", Actors: customers(book)},
		`relation "nowhere" does not exist`)
}

func TestAFunctionThatIsNotRegisteredIsRefused(t *testing.T) {
	refused(t, -1, driftlock.Spec{SetupJob: schema, Actors: customers(driftlock.Job{})}, "is not registered")
}

func TestWithoutTheProgramItIsSaidWhereItIsLookedFor(t *testing.T) {
	t.Setenv("DRIFTLOCK", "no-such-driftlock")
	refused(t, -1, driftlock.Spec{SetupJob: schema, Actors: customers(book)}, "put driftlock in PATH")
}
