/** A part of a form: a field, or a file. */
export interface Part {
  readonly name: string;
  readonly isFile: boolean;
  readonly content: Buffer;
}

const MOST_PARTS = 100;
const LONGEST_HEAD = 2_000;

/** The parts of a `multipart/form-data` body as browsers write it (RFC 7578); undefined if it is another. */
export function partsOf(body: Buffer, contentType: string): readonly Part[] | undefined {
  const [, boundary] = /;\s*boundary="?([\w'()+,./:=? -]{1,70}?)"?\s*$/i.exec(contentType) ?? [];
  if (boundary === undefined) return undefined;
  const mark = Buffer.from(`\r\n--${boundary}`);
  // The first boundary has no line end before it.
  const whole = Buffer.concat([Buffer.from("\r\n"), body]);
  const parts: Part[] = [];
  let at = whole.indexOf(mark);
  if (at !== 0) return undefined;
  for (;;) {
    const start = at + mark.length;
    const next = whole.toString("latin1", start, start + 2);
    if (next === "--") return parts;
    const headEnd = whole.indexOf("\r\n\r\n", start);
    at = headEnd === -1 ? -1 : whole.indexOf(mark, headEnd + 2);
    if (next !== "\r\n" || at === -1 || headEnd - start > LONGEST_HEAD || parts.length === MOST_PARTS)
      return undefined;
    const part = partOf(whole.toString("utf8", start, headEnd), whole.subarray(headEnd + 4, at));
    if (part === undefined) return undefined;
    parts.push(part);
  }
}

function partOf(head: string, content: Buffer): Part | undefined {
  const [, name] = /^content-disposition:\s*form-data;\s*name="([^"\r\n]*)"/im.exec(head) ?? [];
  if (name === undefined) return undefined;
  return { name, isFile: /^content-disposition:.*;\s*filename=/im.test(head), content };
}
