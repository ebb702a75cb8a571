// Copies a file in reads and writes of 4 KB; 1 when that fails.
package main

import (
	"fmt"
	"io"
	"os"
)

func main() {
	in, err := os.Open(os.Args[1])
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	out, err := os.Create(os.Args[2])
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	buf := make([]byte, 4096)
	n, err := io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{in}, buf)
	fmt.Println(n, err)
	if err != nil {
		os.Exit(1)
	}
}
