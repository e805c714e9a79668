/** Conversion jobs: any readable data set into a store, and a store's task back into a LeRobot data set. */
package ai.lram.dataset.convert;
