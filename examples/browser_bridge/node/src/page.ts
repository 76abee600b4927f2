// The files of the page, by their paths: nothing else in the file system can be asked for.

import { readdir, readFile } from "node:fs/promises";
import { extname } from "node:path";

export interface PageFile {
  type: string;
  content: Buffer;
}

const folder = new URL("../../page/", import.meta.url);
const types: Record<string, string> = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
};

export async function pageFiles(): Promise<Map<string, PageFile>> {
  const files = new Map<string, PageFile>();
  for (const name of await readdir(folder)) {
    const file = { type: types[extname(name)] ?? "application/octet-stream", content: await readFile(new URL(name, folder)) };
    files.set(`/${name}`, file);
    if (name === "index.html") files.set("/", file);
  }
  return files;
}
