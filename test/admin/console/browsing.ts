import { randomBytes } from "node:crypto";
import { request } from "node:http";

/** A Sluice with a console. */
type Served = { readonly adminUrl: string };

export const TOKEN = randomBytes(24).toString("hex");

export interface Page {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
}

export interface Sent {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
}

/** Says what a browser would, or what none would: fetch sets Host and Origin by itself. */
export function ask({ adminUrl }: Served, path: string, sent: Sent = {}): Promise<Page> {
  return new Promise((resolve, reject) => {
    const { method = "GET", headers = {}, body } = sent;
    const asked = request(`${adminUrl}${path}`, { method, headers, agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk) => {
        text += chunk;
      });
      response.on("end", () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text }),
      );
    });
    asked.on("error", reject);
    asked.end(body);
  });
}

/** A form of a page of ours. */
export function form(
  { adminUrl }: Served,
  fields: Readonly<Record<string, string>>,
  headers: Readonly<Record<string, string>> = {},
): Sent {
  return {
    method: "POST",
    headers: { "content-type": "application/x-www-form-urlencoded", origin: adminUrl, ...headers },
    body: new URLSearchParams(fields).toString(),
  };
}

/** Somebody who has logged in. */
export interface Officer {
  readonly cookie: string;
  readonly formToken: string;
  see(path: string): Promise<string>;
  /** Sends a form; follows to the page that shows the result. */
  send(path: string, fields: Readonly<Record<string, string>>): Promise<string>;
}

export async function logIn(sluice: Served, token = TOKEN): Promise<Officer> {
  const answer = await ask(sluice, "/console/log-in", form(sluice, { token, to: "/console" }));
  if (answer.status !== 303) throw new Error(`not logged in: ${answer.status}`);
  const cookie = String(answer.headers["set-cookie"]).split(";")[0] ?? "";
  const see = async (path: string) => (await ask(sluice, path, { headers: { cookie } })).text;
  const formToken = /name="form_token" value="([^"]+)"/.exec(await see("/console"))?.[1] ?? "";
  return {
    cookie,
    formToken,
    see,
    async send(path, fields) {
      const sent = form(sluice, { form_token: formToken, ...fields }, { cookie });
      const { status, headers, text } = await ask(sluice, path, sent);
      return status === 303 ? see(String(headers.location)) : text;
    },
  };
}

/** A page's words, as they are read: without markup, entities undone. */
export function words(page: string): string {
  return page
    .replace(/<[^>]+>/g, " ")
    .replace(/&lt;/g, "<")
    .replace(/&gt;/g, ">")
    .replace(/&quot;/g, '"')
    .replace(/&#39;/g, "'")
    .replace(/&amp;/g, "&")
    .replace(/\s+/g, " ");
}
