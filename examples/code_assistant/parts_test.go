package main

import "testing"

func TestPartEndsAtTheEarliestCertainPosition(t *testing.T) {
	const missing = "" // the part is still incomplete at the end of the text
	for _, row := range []struct{ name, until, text, want string }{
		{"a block", "code", "Here:\n```go\nx := 1\n```\nIt sets x.", "Here:\n```go\nx := 1\n```\n"},
		{"a fence in a longer one", "code", "````md\n```go\n```\n````\nmore", "````md\n```go\n```\n````\n"},
		{"tildes", "code", "~~~\n```\n~~~\n", "~~~\n```\n~~~\n"},
		{"a fence with a word does not close", "code", "```\n```go\n", missing},
		{"open", "code", "```go\nx := 1\n", missing},
		{"no line end yet", "code", "```go\nx\n```", missing},
		{"inline marks", "code", "Use ```x``` here.\n", missing},
		{"a sentence", "sentence", "It costs 3.50 in all. More", "It costs 3.50 in all."},
		{"no space yet", "sentence", "It ends.", missing},
		{"a paragraph", "paragraph", "One.\nTwo.\n\nThree.", "One.\nTwo."},
		{"blank lines at first", "paragraph", "\n\nOne.\n\nTwo.", "\n\nOne."},
	} {
		t.Run(row.name, func(t *testing.T) {
			end := -1
			for read := 0; read <= len(row.text) && end < 0; read++ {
				end = parts[row.until](row.text[:read])
			}
			if got := row.text[:max(0, end)]; got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
}
