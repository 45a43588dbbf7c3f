/** The role of an application that says who reads: what its statements show, store and move is counted. */
export function watchedApp(budget: string): string {
  return `roles:
  app:
    users: [helpdesk_app]
    reads: all
    writes: all
    sees: all
    watch: true
    people_behind: [{ setting: app.agent }]
    budget: ${budget}
`;
}
