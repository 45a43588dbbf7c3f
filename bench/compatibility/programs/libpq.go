package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/lib/pq"
)

var db *sql.DB

const email = "customer.7@example.com"

// Runs what a step does, and prints what came of it as a line of JSON for compatibility/steps.ts.
func step(name string, act func() (interface{}, error)) {
	value, err := act()
	if err != nil {
		text, _ := json.Marshal(fmt.Sprintf("%s %v", state(err), err))
		fmt.Printf("{\"step\":%q,\"error\":%s}\n", name, text)
		return
	}
	text, _ := json.Marshal(value)
	fmt.Printf("{\"step\":%q,\"value\":%s}\n", name, text)
}

func state(err error) string {
	var told *pq.Error
	if errors.As(err, &told) {
		return string(told.Code)
	}
	return ""
}

func rows(query string, values ...interface{}) (interface{}, error) {
	found, err := db.Query(query, values...)
	if err != nil {
		return nil, err
	}
	return read(found)
}

func read(found *sql.Rows) (interface{}, error) {
	defer found.Close()
	names, _ := found.Columns()
	all := [][]*string{}
	for found.Next() {
		row := make([]*string, len(names))
		into := make([]interface{}, len(names))
		for at := range row {
			into[at] = &row[at]
		}
		if err := found.Scan(into...); err != nil {
			return nil, err
		}
		all = append(all, row)
	}
	return all, found.Err()
}

func main() {
	var err error
	if db, err = sql.Open("postgres", os.Getenv("COMPAT_URI")+"?sslmode=disable"); err != nil {
		panic(err)
	}
	db.SetMaxOpenConns(2)

	step("list", func() (interface{}, error) {
		return rows("SELECT t.*, c.email FROM tickets t JOIN customers c ON c.id = t.customer_id WHERE t.status = $1 ORDER BY t.id LIMIT 20", "open")
	})
	step("find by e-mail", func() (interface{}, error) { return rows("SELECT * FROM customers WHERE email = $1", email) })
	step("find by e-mail in any case", func() (interface{}, error) { return rows("SELECT * FROM customers WHERE lower(email) = lower($1)", email) })
	step("find by an array", func() (interface{}, error) {
		return rows("SELECT * FROM customers WHERE email = ANY ($1) ORDER BY id", pq.Array([]string{email, "customer.8@example.com"}))
	})
	step("prepared", func() (interface{}, error) {
		statement, err := db.Prepare("SELECT id, phone FROM customers WHERE id = $1")
		if err != nil {
			return nil, err
		}
		defer statement.Close()
		all := []interface{}{}
		for id := 1; id <= 10; id++ {
			found, err := statement.Query(id)
			if err != nil {
				return nil, err
			}
			one, err := read(found)
			if err != nil {
				return nil, err
			}
			all = append(all, one)
		}
		return all, nil
	})
	step("insert returning", func() (interface{}, error) {
		return rows("INSERT INTO tickets (customer_id, subject) VALUES ($1, $2) RETURNING id, status", 7, "New")
	})
	step("update of all columns", func() (interface{}, error) {
		result, err := db.Exec("UPDATE tickets SET customer_id = $1, subject = $2, status = $3 WHERE id = $4", 8, "Ticket 7", "closed", 7)
		if err != nil {
			return nil, err
		}
		return result.RowsAffected()
	})
	step("transaction, savepoint, rollback", func() (interface{}, error) {
		tx, err := db.Begin()
		if err != nil {
			return nil, err
		}
		defer tx.Rollback()
		if _, err := tx.Exec("DELETE FROM ticket_messages WHERE ticket_id = 7"); err != nil {
			return nil, err
		}
		if _, err := tx.Exec("SAVEPOINT s"); err != nil {
			return nil, err
		}
		_, failed := tx.Exec("SELECT 1 / 0")
		if _, err := tx.Exec("ROLLBACK TO s"); err != nil {
			return nil, err
		}
		var count int
		err = tx.QueryRow("SELECT count(*) FROM ticket_messages WHERE ticket_id = 7").Scan(&count)
		return []interface{}{state(failed), count}, err
	})
	step("read-only transaction", func() (interface{}, error) {
		tx, err := db.BeginTx(context.Background(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
		if err != nil {
			return nil, err
		}
		defer tx.Rollback()
		var count int
		err = tx.QueryRow("SELECT count(*) FROM tickets").Scan(&count)
		return count, err
	})
	step("copy in", func() (interface{}, error) {
		tx, err := db.Begin()
		if err != nil {
			return nil, err
		}
		statement, err := tx.Prepare(pq.CopyIn("ticket_messages", "ticket_id", "author", "body"))
		if err != nil {
			return nil, err
		}
		for n := 0; n < 5; n++ {
			if _, err := statement.Exec(9, "agent", "copied"); err != nil {
				return nil, err
			}
		}
		if _, err := statement.Exec(); err != nil {
			return nil, err
		}
		if err := statement.Close(); err != nil {
			return nil, err
		}
		if err := tx.Commit(); err != nil {
			return nil, err
		}
		return rows("SELECT count(*) FROM ticket_messages WHERE ticket_id = 9")
	})
	step("cancelled context", func() (interface{}, error) {
		patience, done := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer done()
		_, err := db.ExecContext(patience, "SELECT pg_sleep(5)")
		return err != nil, nil
	})
	step("wrong statement", func() (interface{}, error) {
		_, err := db.Exec("SELEC 1")
		return state(err), nil
	})
	step("listener", func() (interface{}, error) {
		listener := pq.NewListener(os.Getenv("COMPAT_URI")+"?sslmode=disable", time.Second, time.Second, nil)
		defer listener.Close()
		// A listener that is refused tries again for ever.
		listening := make(chan error, 1)
		go func() { listening <- listener.Listen("desk") }()
		select {
		case err := <-listening:
			if err != nil {
				return nil, err
			}
		case <-time.After(5 * time.Second):
			return nil, errors.New("LISTEN is not answered")
		}
		if _, err := db.Exec("NOTIFY desk, 'hello'"); err != nil {
			return nil, err
		}
		select {
		case told := <-listener.Notify:
			return told.Extra, nil
		case <-time.After(5 * time.Second):
			return nil, errors.New("nothing heard")
		}
	})
}
