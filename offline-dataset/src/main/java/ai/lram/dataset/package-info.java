/**
 * Trajectories of robots and games in memory: episodes, their features and tasks, the registry of the 469 published
 * tasks, and the errors every reader, writer and store of this module raises.
 */
package ai.lram.dataset;
