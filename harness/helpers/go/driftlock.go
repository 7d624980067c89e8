// Package driftlock races Go functions against each other, in every order of what they ask of PostgreSQL, from a test.
//
//	var increment = driftlock.Register("increment", func(actor string) error {
//		// Connects to os.Getenv("DATABASE_URL"), reads the value, writes one more.
//	})
//
//	func TestMain(m *testing.M) { driftlock.Main(m) }
//
//	func TestTwoIncrementsAreTwo(t *testing.T) {
//		driftlock.Race(t, driftlock.Spec{
//			Setup:      "CREATE TABLE counter (value int); INSERT INTO counter VALUES (0)",
//			Actors:     []driftlock.Actor{{Name: "counter", Job: increment, Count: 2}},
//			Invariants: map[string]string{"counted-twice": "SELECT value FROM counter WHERE value <> 2"},
//		})
//	}
//
// Each actor is the test's program, started anew as a process of its own; it calls the function once for each order. It
// speaks with driftlock as a worker of an application's file does: a line of JSON each way. What was written for driftlock,
// and what it printed, is in .driftlock/TEST, until the test runs again.
//
// It needs the program driftlock in PATH, or its place in the environment variable DRIFTLOCK.
package driftlock

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What an actor's process is told by, and a set-up's.
const (
	jobVariable = "DRIFTLOCK_GO_JOB"
	onceSuffix  = "/once"
)

// Job is a registered function.
type Job struct{ name string }

var jobs = map[string]func(actor string) error{}

// Register makes a function known, under a name that no other has: as a package's variable, so that each process does so.
// It gets the actor's name. An error that it returns is a violation, unless it returns it while it is alone.
func Register(name string, function func(actor string) error) Job {
	if _, exists := jobs[name]; exists {
		panic("driftlock: two functions are registered as " + name)
	}
	jobs[name] = function
	return Job{name}
}

// Main runs the tests; or, in an actor's process, the actor.
func Main(m *testing.M) {
	name, is := os.LookupEnv(jobVariable)
	if !is {
		os.Exit(m.Run())
	}
	function, exists := jobs[strings.TrimSuffix(name, onceSuffix)]
	if !exists {
		fmt.Fprintln(os.Stderr, "driftlock: no function is registered as", name)
		os.Exit(1)
	}
	// What the function prints is not an answer.
	answers := os.Stdout
	os.Stdout = os.Stderr
	if strings.HasSuffix(name, onceSuffix) {
		if err := function("setup"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var call struct{ Actor string }
		if err := json.Unmarshal(lines.Bytes(), &call); err != nil {
			fmt.Fprintln(os.Stderr, "driftlock:", err)
			os.Exit(1)
		}
		answer := map[string]any{"ok": true}
		if err := function(call.Actor); err != nil {
			answer = map[string]any{"ok": false, "error": err.Error()}
		}
		line, _ := json.Marshal(answer)
		fmt.Fprintf(answers, "%s\n", line)
	}
	os.Exit(0)
}

// Actor is who does a job: Count of them (1) do the same.
type Actor struct {
	Name  string
	Job   Job
	Count int
}

// Spec is what is raced.
type Spec struct {
	// SQL that makes the state in which everything begins; psql runs it.
	Setup string
	// A function that makes it, instead.
	SetupJob Job
	Actors   []Actor
	// By name, queries that must return no row at the end. Without any, the outcome must be that of some serial order.
	Invariants map[string]string
	// The check that is expected to be violated, so that a test shows a known fault.
	Violates string
	// What is let fail at every place, as --faults takes it.
	Faults string
	// After how long the search is stopped, and has no answer (a minute).
	Budget time.Duration
	// Further arguments of `driftlock explore`.
	Options []string
}

// Raced is what a race came to.
type Raced struct {
	// "pass", or "violation" where one was expected.
	Verdict string
	// The names of the checks that are violated.
	Violated []string
	// "exhausted" where every order that matters was visited.
	Coverage   string
	Executions int
	// What driftlock printed.
	Printed string
}

// Race visits every order of what the actors ask of the database that matters. It fails the test with what driftlock
// printed where that is not as expected, or where there is no answer.
func Race(t testing.TB, spec Spec) Raced {
	t.Helper()
	raced, err := Explore(t.Name(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return raced
}

// Error is why there is no result: Code is driftlock's exit code, or -1 where it could not be run.
type Error struct {
	Code    int
	Message string
}

func (e *Error) Error() string { return e.Message }

func unable(format string, values ...any) error { return &Error{-1, fmt.Sprintf(format, values...)} }

// Explore is Race outside of a test.
func Explore(name string, spec Spec) (Raced, error) {
	place, err := fresh(name)
	if err != nil {
		return Raced{}, unable("%v", err)
	}
	file := filepath.Join(place, "race.toml")
	text, err := application(place, spec)
	if err == nil {
		err = os.WriteFile(file, []byte(text), 0o644)
	}
	if err != nil {
		return Raced{}, unable("%v", err)
	}
	budget := spec.Budget
	if budget == 0 {
		budget = time.Minute
	}
	seconds := int(budget.Round(time.Second) / time.Second)
	arguments := []string{"explore", file, "--output", filepath.Join(place, "run"), "--color", "never"}
	arguments = append(arguments, "--budget", fmt.Sprintf("%ds", seconds))
	if spec.Faults != "" {
		arguments = append(arguments, "--faults", spec.Faults)
	}
	code, printed, err := run(append(arguments, spec.Options...), budget+5*time.Minute)
	if err != nil {
		return Raced{}, err
	}
	if err := os.WriteFile(filepath.Join(place, "printed.txt"), []byte(printed), 0o644); err != nil {
		return Raced{}, unable("%v", err)
	}
	if code != 0 {
		message := fmt.Sprintf("driftlock explore ended with %d\n\n%s\n\nThe race: %s", code, strings.TrimSpace(printed), file)
		return Raced{}, &Error{code, message}
	}
	return read(filepath.Join(place, "run", "report.json"), printed)
}

// run runs driftlock to its end.
func run(arguments []string, most time.Duration) (int, string, error) {
	program := os.Getenv("DRIFTLOCK")
	if program == "" {
		program = "driftlock"
	}
	var output bytes.Buffer
	command := exec.Command(program, arguments...)
	command.Stdout, command.Stderr = &output, &output
	if err := command.Start(); err != nil {
		return 0, "", unable("there is no program %q: put driftlock in PATH, or its place in DRIFTLOCK: %v", program, err)
	}
	// Interrupted, it takes its server down.
	late := time.AfterFunc(most, func() { _ = command.Process.Signal(syscall.SIGINT) })
	killed := time.AfterFunc(most+20*time.Second, func() { _ = command.Process.Kill() })
	defer late.Stop()
	defer killed.Stop()
	_ = command.Wait()
	return command.ProcessState.ExitCode(), output.String(), nil
}

func read(report, printed string) (Raced, error) {
	var said struct {
		Results []struct {
			Verdict, Coverage string
			Executions        int
			Checks            []struct{ Name, Verdict string }
		}
	}
	text, err := os.ReadFile(report)
	if err == nil {
		err = json.Unmarshal(text, &said)
	}
	if err != nil || len(said.Results) != 1 {
		return Raced{}, unable("driftlock's report cannot be read: %s: %v", report, err)
	}
	row := said.Results[0]
	raced := Raced{Verdict: row.Verdict, Coverage: row.Coverage, Executions: row.Executions, Printed: printed}
	for _, check := range row.Checks {
		if check.Verdict == "violation" {
			raced.Violated = append(raced.Violated, check.Name)
		}
	}
	return raced, nil
}

var unsuitable = regexp.MustCompile("[^a-z0-9]+")

// word is a name as driftlock has them: lower-case words with hyphens, not too long.
func word(name string) string {
	all := strings.Trim(unsuitable.ReplaceAllString(strings.ToLower(name), "-"), "-")
	if len(all) <= 60 {
		return all
	}
	return fmt.Sprintf("%s-%08x", strings.Trim(all[:51], "-"), crc32.ChecksumIEEE([]byte(name)))
}

// fresh makes an empty directory for a test, the same each time.
func fresh(name string) (string, error) {
	above, err := filepath.Abs(".driftlock")
	if err != nil {
		return "", err
	}
	name = word(name)
	if name == "" {
		return "", fmt.Errorf("a race must have a name")
	}
	place := filepath.Join(above, name)
	if err := os.RemoveAll(place); err != nil {
		return "", err
	}
	if err := os.MkdirAll(place, 0o755); err != nil {
		return "", err
	}
	return place, os.WriteFile(filepath.Join(above, ".gitignore"), []byte("*\n"), 0o644)
}

// application is the application's file.
func application(place string, spec Spec) (string, error) {
	name := filepath.Base(place)
	lines := []string{"name = " + quoted(name), "summary = " + quoted("A test of "+name)}
	setup := "psql -X -q -v ON_ERROR_STOP=1 -f setup.sql"
	if spec.SetupJob.name != "" {
		command, err := worker(spec.SetupJob, onceSuffix)
		if err != nil {
			return "", err
		}
		setup = command
	} else if err := os.WriteFile(filepath.Join(place, "setup.sql"), []byte(spec.Setup), 0o644); err != nil {
		return "", err
	}
	lines = append(lines, "setup = "+quoted(setup))
	if spec.Violates != "" {
		lines = append(lines, "violates = "+quoted(spec.Violates))
	}
	for _, actor := range spec.Actors {
		command, err := worker(actor.Job, "")
		if err != nil {
			return "", fmt.Errorf("actor %s: %w", actor.Name, err)
		}
		count := actor.Count
		if count == 0 {
			count = 1
		}
		lines = append(lines, "[[actor]]", "name = "+quoted(actor.Name), fmt.Sprintf("count = %d", count))
		lines = append(lines, "worker = "+quoted(command))
	}
	names := make([]string, 0, len(spec.Invariants))
	for invariant := range spec.Invariants {
		names = append(names, invariant)
	}
	sort.Strings(names)
	for _, invariant := range names {
		lines = append(lines, "[[invariant]]", "name = "+quoted(invariant), "sql = "+quoted(spec.Invariants[invariant]))
	}
	return strings.Join(lines, "\n") + "\n", nil
}

// quoted is a string of TOML: one of JSON, but for one character.
func quoted(text string) string {
	line, _ := json.Marshal(text)
	return strings.ReplaceAll(string(line), "\x7f", `\u007f`)
}

// worker is the command that calls a function.
func worker(job Job, suffix string) (string, error) {
	if _, exists := jobs[job.name]; !exists {
		return "", fmt.Errorf("its function is not registered: var job = driftlock.Register(\"name\", function)")
	}
	directory, err := os.Getwd()
	if err != nil {
		return "", err
	}
	program, err := os.Executable()
	if err != nil {
		return "", err
	}
	call := []string{shellWord(jobVariable + "=" + job.name + suffix), shellWord(program)}
	return "cd " + shellWord(directory) + " && exec env " + strings.Join(call, " "), nil
}

func shellWord(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
