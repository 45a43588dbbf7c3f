import { startDesk } from "./desk.ts";
import { customerAt } from "./made-up-people.ts";
import type { Screen } from "./screen.ts";

/** What two agents were shown by one application. */
export interface AtTheDesk {
  /** The thief's customers, and the status of the page that stopped them; undefined: nothing did. */
  readonly stolen: number;
  readonly stoppedBy: number | undefined;
  /** The other one went on working. */
  readonly othersWork: boolean;
}

/** More than anybody's budget for a minute. */
const PAGES = 60;
const FIRST = 300;

/** Two agents at a web application that has one account; one of them steals. */
export async function atTheDesk(connectionString: string, screen: Screen): Promise<AtTheDesk> {
  screen.heading(
    "8. Two agents at the help desk's web application, which has one account; one of them steals",
  );
  const desk = await startDesk({ connectionString, port: 0 });
  try {
    const [dora, emil] = [await logIn(desk.url, "dora"), await logIn(desk.url, "emil")];
    const email = encodeURIComponent(customerAt(7).email);
    const found = await dora(`/search?email=${email}`);
    screen.statement("dora", "finds the customer on the phone by their e-mail address");
    showPage(found, screen);
    screen.statement("emil", `clicks "Next customer" at customer ${FIRST}, and again, and again`);
    let stolen = 0;
    let stopped: Page | undefined;
    while (stopped === undefined && stolen < PAGES) {
      const page = await emil(`/customer?id=${FIRST + stolen}`);
      if (page.status === 200) stolen += 1;
      else stopped = page;
    }
    screen.line(`  ${stolen} customers, then:`);
    if (stopped === undefined) screen.bad("nothing stopped it");
    else showPage(stopped, screen);
    const after = await dora("/customer?id=8");
    screen.statement("dora", "goes on with the next call");
    showPage(after, screen);
    screen.quiet("In the audit log these are dora's and emil's customers, read by helpdesk_web.");
    return {
      ...{ stolen, stoppedBy: stopped?.status },
      othersWork: found.status === 200 && after.status === 200,
    };
  } finally {
    await desk.close();
  }
}

interface Page {
  readonly status: number;
  readonly text: string;
}

/** Gives what opens pages as this agent. */
async function logIn(url: string, agent: string): Promise<(path: string) => Promise<Page>> {
  const body = new URLSearchParams({ agent });
  const entered = await fetch(`${url}/log-in`, { method: "POST", body, redirect: "manual" });
  const cookie = entered.headers.get("set-cookie")?.split(";")[0] ?? "";
  return async (path) => {
    const response = await fetch(`${url}${path}`, { headers: { cookie } });
    return { status: response.status, text: await response.text() };
  };
}

function showPage({ status, text }: Page, screen: Screen): void {
  const main = /<main>([\s\S]*)<\/main>/.exec(text)?.[1] ?? "";
  const words = (part: string) =>
    part
      .replace(/<[^>]*>/g, " ")
      .replace(/&quot;/g, '"')
      .replace(/\s+/g, " ")
      .trim();
  if (status === 200) {
    const rows = [...main.matchAll(/<th scope="row">(\w+)<\/th><td>([^<]*)<\/td>/g)];
    screen.good(rows.map(([, name = "", value = ""]) => `${name}: ${value}`).join(", "));
  } else screen.good(`${status}: ${words(main)}`);
}
