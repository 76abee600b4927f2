package main

import (
	"regexp"
	"strings"
)

// parts has a function for each kind of part. It returns the byte offset of the end of the first such part in a text, or
// -1 while that part is incomplete.
var parts = map[string]func(text string) int{
	"code":      endOfCode,
	"sentence":  endOfSentence,
	"paragraph": endOfParagraph,
}

var partNames = map[string]string{"code": "code block", "sentence": "sentence", "paragraph": "paragraph"}

var (
	openingFence = regexp.MustCompile("(?m)^ {0,3}(`{3,}|~{3,})[^`\n]*\n")
	sentenceEnd  = regexp.MustCompile(`[.!?]["')]*\s`)
	paragraphEnd = regexp.MustCompile(`\S[ \t]*\n[ \t]*\n`)
)

// endOfCode finds the end of the first fenced code block. By the rule of CommonMark, the closing line consists of at least
// as many fence characters as the opening fence, and nothing else. So the line must be complete, with its line break.
func endOfCode(text string) int {
	opening := openingFence.FindStringSubmatchIndex(text)
	if opening == nil {
		return -1
	}
	fence, at := text[opening[2]:opening[3]], opening[1]
	for line := range strings.Lines(text[at:]) {
		at += len(line)
		marks := strings.TrimSpace(line)
		isClosing := len(marks) >= len(fence) && strings.Trim(marks, fence[:1]) == ""
		if isClosing && strings.HasSuffix(line, "\n") {
			return at
		}
	}
	return -1
}

func endOfSentence(text string) int {
	return endOf(sentenceEnd, text)
}

func endOfParagraph(text string) int {
	return endOf(paragraphEnd, text)
}

// endOf returns the offset before the whitespace that marks the end.
func endOf(pattern *regexp.Regexp, text string) int {
	end := pattern.FindStringIndex(text)
	if end == nil {
		return -1
	}
	return len(strings.TrimRight(text[:end[1]], " \t\n"))
}
