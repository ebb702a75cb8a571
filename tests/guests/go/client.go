// Two hundred requests by eight goroutines to a server of its own on loopback: how many went well, and what went wrong.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
)

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println("listen", err)
		os.Exit(3)
	}
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello, world\n") }))
	var wg sync.WaitGroup
	var mu sync.Mutex
	ok, bad := 0, map[string]int{}
	for i := 0; i < 8; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for j := 0; j < 25; j++ {
				c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
				r, err := c.Get("http://" + l.Addr().String() + "/")
				if err == nil {
					_, err = io.ReadAll(r.Body)
					r.Body.Close()
				}
				mu.Lock()
				if err != nil {
					for e := err; e != nil; {
						u, k := e.(interface{ Unwrap() error })
						if !k {
							bad[e.Error()]++
							break
						}
						e = u.Unwrap()
					}
				} else {
					ok++
				}
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	fmt.Println("ok", ok, "bad", bad)
}
