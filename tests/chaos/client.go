// Fetches eight documents and writes them down, as client.py does: `client GUARD PORT`.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

var (
	guard    = os.Args[1]
	base     = "http://127.0.0.1:" + os.Args[2]
	client   = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	failures int
	last     time.Time
	longest  time.Duration
)

func fetch(number int) ([]byte, error) {
	answer, err := client.Get(fmt.Sprintf("%s/%d", base, number))
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != 200 {
		return nil, errors.New(answer.Status)
	}
	var document struct {
		Number int
		Sum    int
		Text   string
	}
	if err := json.Unmarshal(body, &document); err != nil {
		return nil, err
	}
	for _, letter := range document.Text {
		document.Sum -= int(letter)
	}
	if document.Sum != 0 || document.Number != number {
		return nil, errors.New("the document is damaged")
	}
	return body, nil
}

func guarded(act func() error) {
	attempts, pause := 2000, 5*time.Millisecond
	if guard == "no-retry" {
		attempts = 1
	}
	for left := attempts - 1; ; left-- {
		if guard == "breaker" && failures >= 3 {
			time.Sleep(400 * time.Millisecond)
		}
		if guard == "limiter" {
			time.Sleep(time.Until(last.Add(250 * time.Millisecond)))
		}
		last = time.Now()
		err := act()
		if took := time.Since(last); took > longest {
			longest = took
		}
		if err == nil {
			failures = 0
			return
		}
		failures++
		if left == 0 {
			fmt.Fprintln(os.Stderr, "gave up:", err)
			os.Exit(1)
		}
		if guard == "retry" {
			if pause *= 2; pause > 200*time.Millisecond {
				pause = 200 * time.Millisecond
			}
		}
		time.Sleep(pause)
	}
}

func main() {
	if guard == "timeout" {
		client.Timeout = 500 * time.Millisecond
	}
	if err := os.MkdirAll("got", 0o755); err != nil {
		panic(err)
	}
	for number := 1; number <= 8; number++ {
		var body []byte
		guarded(func() (err error) { body, err = fetch(number); return })
		guarded(func() error { return os.WriteFile(fmt.Sprintf("got/%d.json", number), body, 0o644) })
	}
	fmt.Printf("longest %.3f\n", longest.Seconds())
}
