import { type Html, html } from "../html.ts";
import { page } from "./layout.ts";

export interface LogIn {
  /** Where he wanted to go. */
  readonly to: string;
  readonly problem: string | undefined;
}

export function logInPage({ to, problem }: LogIn): Html {
  return page(
    problem === undefined ? "Log in" : "Not logged in",
    html`<main id="main" class="log-in" tabindex="-1">
      <p class="brand">Sluice</p>
      <h1>Log in to the console</h1>
      ${problem !== undefined && html`<p class="problem" role="alert" id="problem">${problem}</p>`}
      <form method="post" action="/console/log-in">
        <input type="hidden" name="to" value="${to}">
        <label for="token">Console token</label>
        <input id="token" name="token" type="password" autocomplete="current-password" required autofocus
          ${problem !== undefined && html`aria-invalid="true" aria-describedby="problem"`}>
        <button type="submit">Log in</button>
      </form>
      <p class="quiet">The token is what <code>--console-token-file</code> or <code>SLUICE_CONSOLE_TOKEN</code>
        gave to this proxy.</p>
    </main>`,
  );
}
