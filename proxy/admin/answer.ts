/** What an HTTP request is answered. */
export interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly text: string;
  /** Lower case names; they go before what every answer bears. */
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
}

export function plain(status: number, text: string): Answer {
  return { status, contentType: "text/plain; charset=utf-8", text: `${text}\n` };
}
