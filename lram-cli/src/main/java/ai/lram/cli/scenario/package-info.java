/** Whole jobs wired from the rooms below: training runs, evaluations, the demo. Commands and tests start them alike. */
package ai.lram.cli.scenario;
