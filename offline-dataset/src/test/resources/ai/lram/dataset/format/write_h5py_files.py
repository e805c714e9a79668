"""Writes the HDF5 files beside this script the way Minari and D4RL do: growable chunks, enum booleans, gzip.

Run with h5py 3: python3 write_h5py_files.py
"""
import h5py
import numpy as np

with h5py.File("h5py-minari.hdf5", "w", libver="earliest") as f:
    for e in range(3):
        g = f.create_group(f"episode_{e}")
        steps = 4 + e
        g.attrs["id"] = np.int64(e)
        g.attrs["total_steps"] = np.int64(steps)
        o = g.create_group("observations")
        grow = dict(chunks=True)
        o.create_dataset("position", data=np.arange((steps + 1) * 2, dtype="f8").reshape(-1, 2) + 100 * e,
                         maxshape=(None, 2), **grow)
        o.create_dataset("contact", data=np.arange(steps + 1) % 2 == 1, maxshape=(None,), **grow)
        g.create_dataset("actions", data=np.arange(steps * 3, dtype="f4").reshape(-1, 3) / 8, maxshape=(None, 3), **grow)
        g.create_dataset("rewards", data=np.arange(steps, dtype="f8"), maxshape=(None,), **grow)
        g.create_dataset("terminations", data=np.arange(steps) == steps - 1, maxshape=(None,), **grow)
        g.create_dataset("truncations", data=np.zeros(steps, dtype=bool), maxshape=(None,), **grow)
        g.create_group("infos").create_dataset("note", data=np.arange(steps + 1), maxshape=(None,), **grow)

with h5py.File("h5py-d4rl.hdf5", "w") as f:
    n = 50
    f.create_dataset("observations", data=np.arange(n * 4, dtype="f4").reshape(n, 4), compression="gzip")
    f.create_dataset("actions", data=np.linspace(-1, 1, n * 2, dtype="f4").reshape(n, 2), compression="gzip")
    f.create_dataset("rewards", data=np.ones(n, dtype="f4"), compression="gzip")
    f.create_dataset("terminals", data=np.arange(n) == 19, compression="gzip")
    f.create_dataset("timeouts", data=(np.arange(n) % 10 == 9) & (np.arange(n) > 20), compression="gzip")
    f.create_dataset("infos/qpos", data=np.zeros((n, 3)))
    f.create_dataset("metadata/algorithm", data=np.bytes_("none"))
