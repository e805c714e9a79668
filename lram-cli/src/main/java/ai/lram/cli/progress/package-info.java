/** How far a long job is: a live bar on a terminal, a line now and then elsewhere. */
package ai.lram.cli.progress;
