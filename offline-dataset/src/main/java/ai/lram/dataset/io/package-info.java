/** File operations that survive a power cut: fsync of files and folders, publication by atomic rename. */
package ai.lram.dataset.io;
