package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgx/v4"
	"github.com/jackc/pgx/v4/pgxpool"
)

var db *pgx.Conn
var here = context.Background()

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
	var told *pgconn.PgError
	if errors.As(err, &told) {
		return told.Code
	}
	return ""
}

func read(found pgx.Rows, err error) (interface{}, error) {
	if err != nil {
		return nil, err
	}
	defer found.Close()
	all := [][]interface{}{}
	for found.Next() {
		row, err := found.Values()
		if err != nil {
			return nil, err
		}
		all = append(all, row)
	}
	return all, found.Err()
}

func rows(query string, values ...interface{}) (interface{}, error) {
	return read(db.Query(here, query, values...))
}

func main() {
	uri := os.Getenv("COMPAT_URI") + "?sslmode=disable"
	var err error
	if db, err = pgx.Connect(here, uri); err != nil {
		panic(err)
	}
	defer db.Close(here)

	step("list", func() (interface{}, error) {
		return rows("SELECT t.*, c.email FROM tickets t JOIN customers c ON c.id = t.customer_id WHERE t.status = $1 ORDER BY t.id LIMIT 20", "open")
	})
	step("find by e-mail", func() (interface{}, error) { return rows("SELECT * FROM customers WHERE email = $1", email) })
	step("find by e-mail in any case", func() (interface{}, error) { return rows("SELECT * FROM customers WHERE lower(email) = lower($1)", email) })
	step("find by an array", func() (interface{}, error) {
		return rows("SELECT * FROM customers WHERE email = ANY ($1) ORDER BY id", []string{email, "customer.8@example.com"})
	})
	step("simple protocol", func() (interface{}, error) {
		return rows("SELECT id, phone FROM customers WHERE id = $1", pgx.QuerySimpleProtocol(true), 7)
	})
	step("more statements than are cached", func() (interface{}, error) {
		sum := 0
		for n := 0; n < 600; n++ {
			var got int
			if err := db.QueryRow(here, fmt.Sprintf("SELECT %d + count(*) FROM customers WHERE id = $1", n), 7).Scan(&got); err != nil {
				return nil, err
			}
			sum += got
		}
		return sum, nil
	})
	step("batch", func() (interface{}, error) {
		batch := &pgx.Batch{}
		for n := 0; n < 5; n++ {
			batch.Queue("INSERT INTO ticket_messages (ticket_id, author, body) VALUES ($1, 'agent', $2)", 7, fmt.Sprint("b", n))
		}
		batch.Queue("SELECT count(*) FROM ticket_messages WHERE ticket_id = $1", 7)
		results := db.SendBatch(here, batch)
		defer results.Close()
		for n := 0; n < 5; n++ {
			if _, err := results.Exec(); err != nil {
				return nil, err
			}
		}
		return read(results.Query())
	})
	step("insert returning", func() (interface{}, error) {
		return rows("INSERT INTO tickets (customer_id, subject) VALUES ($1, $2) RETURNING id, status", 7, "New")
	})
	step("update of all columns", func() (interface{}, error) {
		tag, err := db.Exec(here, "UPDATE tickets SET customer_id = $1, subject = $2, status = $3 WHERE id = $4", 8, "Ticket 7", "closed", 7)
		return tag.String(), err
	})
	step("nested transaction", func() (interface{}, error) {
		tx, err := db.Begin(here)
		if err != nil {
			return nil, err
		}
		defer tx.Rollback(here)
		inner, err := tx.Begin(here)
		if err != nil {
			return nil, err
		}
		_, failed := inner.Exec(here, "SELECT 1 / 0")
		if err := inner.Rollback(here); err != nil {
			return nil, err
		}
		var status string
		err = tx.QueryRow(here, "SELECT status FROM tickets WHERE id = $1 FOR UPDATE", 7).Scan(&status)
		return []string{state(failed), status}, err
	})
	step("copy from", func() (interface{}, error) {
		return db.CopyFrom(here, pgx.Identifier{"ticket_messages"}, []string{"ticket_id", "author", "body"},
			pgx.CopyFromRows([][]interface{}{{int64(9), "agent", "copied"}, {int64(9), "agent", "copied too"}}))
	})
	step("copy to", func() (interface{}, error) {
		tag, err := db.PgConn().CopyTo(here, os.Stderr, "COPY (SELECT id, email FROM customers ORDER BY id LIMIT 3) TO STDOUT")
		return tag.String(), err
	})
	step("wrong statement", func() (interface{}, error) {
		_, err := db.Exec(here, "SELEC 1")
		return state(err), nil
	})
	step("cancel request", func() (interface{}, error) {
		time.AfterFunc(200*time.Millisecond, func() { db.PgConn().CancelRequest(here) })
		_, err := db.Exec(here, "SELECT pg_sleep(5)")
		return state(err), nil
	})
	step("notifications", func() (interface{}, error) {
		if _, err := db.Exec(here, "LISTEN desk; NOTIFY desk, 'hello'"); err != nil {
			return nil, err
		}
		told, err := db.WaitForNotification(here)
		if err != nil {
			return nil, err
		}
		return []interface{}{told.Channel, told.Payload, told.PID == db.PgConn().PID()}, nil
	})
	step("pool", func() (interface{}, error) {
		pool, err := pgxpool.Connect(here, uri+"&pool_max_conns=2")
		if err != nil {
			return nil, err
		}
		defer pool.Close()
		return read(pool.Query(here, "SELECT id, phone FROM customers ORDER BY id LIMIT 5"))
	})
}
