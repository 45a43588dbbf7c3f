/** Of the parameters that a server reports (ParameterStatus), those that a session goes by. */
export class Reported {
  searchPath: string | undefined;
  /** What the server calls the session's user. */
  sessionUser: string | undefined;
  applicationName: string | undefined;
  clientEncoding: string | undefined;
  standardStrings: string | undefined;

  constructor(parameters: Iterable<readonly [name: string, value: string]>) {
    for (const [name, value] of parameters) this.set(name, value);
  }

  set(name: string, value: string): void {
    switch (name) {
      case "search_path":
        this.searchPath = value;
        break;
      case "session_authorization":
        this.sessionUser = value;
        break;
      case "client_encoding":
        this.clientEncoding = value;
        break;
      case "standard_conforming_strings":
        this.standardStrings = value;
        break;
      case "application_name":
        this.applicationName = value;
        break;
    }
  }
}
