/**
 * Exchange formats: LeRobot v2.1 and v3.0 (read), LeRobot v3.0 (written), D4RL and Minari HDF5, RLDS
 * TFRecords (read).
 */
package ai.lram.dataset.format;
