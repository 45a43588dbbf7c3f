import { type Html, html } from "../admin/console/html.ts";

/** A customer as the desk's page shows them. */
export interface Shown {
  readonly id: number;
  readonly fields: readonly (readonly [name: string, value: string])[];
  readonly tickets: readonly { readonly id: string; readonly subject: string; readonly status: string }[];
}

/** What the database told in place of an answer. */
export interface Problem {
  readonly code: string;
  readonly message: string;
  readonly detail: string;
  readonly hint: string;
}

export const STYLE = `body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 44rem; color: #1b1b1b; background: #fff }
 th { text-align: left; padding-right: 2rem } td, th { vertical-align: top } .problem { border-left: 4px solid #b3261e; padding-left: 1rem }
 nav form { display: inline } button, input, select { font: inherit }`;

/** A whole page. `agent`: who is logged in. */
export function page(title: string, agent: string | undefined, body: Html): string {
  return html`<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width" />
    <title>${title} · Help desk</title>
    <link rel="stylesheet" href="/desk.css" />
  </head>
  <body>
    ${agent !== undefined && navigation(agent)}
    <main>
      <h1>${title}</h1>
      ${body}
    </main>
  </body>
</html>
`.text;
}

function navigation(agent: string): Html {
  return html`<nav>
      <form action="/search"><label>E-mail <input type="email" name="email" required /></label> <button>Find</button></form>
      <form action="/log-out" method="post"><span>${agent}</span> <button>Log out</button></form>
    </nav>`;
}

export function logInPage(agents: readonly string[]): string {
  return page(
    "Log in",
    undefined,
    html`<form action="/log-in" method="post">
      <label>Agent <select name="agent">${agents.map((name) => html`<option>${name}</option>`)}</select></label>
      <button>Log in</button>
    </form>`,
  );
}

export function customerPage(agent: string, { id, fields, tickets }: Shown): string {
  const rows = fields.map(([name, value]) => html`<tr><th scope="row">${name}</th><td>${value}</td></tr>`);
  const list = tickets.map(
    (ticket) => html`<li>#${ticket.id} ${ticket.subject} <small>(${ticket.status})</small></li>`,
  );
  return page(
    `Customer ${id}`,
    agent,
    html`<table>${rows}</table>
      <h2>Tickets</h2>
      <ul>${list}</ul>
      <p><a href="/customer?id=${id + 1}">Next customer</a></p>`,
  );
}

export function missingPage(agent: string): string {
  return page("Nobody", agent, html`<p>There is no such customer.</p>`);
}

export function problemPage(agent: string, { code, message, detail, hint }: Problem): string {
  return page(
    "Not shown",
    agent,
    html`<div class="problem" role="alert">
      <p>${message} <small>(${code})</small></p>
      <p>${detail}</p>
      <p>${hint}</p>
    </div>`,
  );
}
