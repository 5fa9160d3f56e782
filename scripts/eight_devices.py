"""Eight named devices on a running cluster, and the cluster's status as they see it.

scripts/up --detach --devices 0
.venv/bin/python scripts/eight_devices.py [URL of any node]
"""

import asyncio
import logging
import sys

from stationkeep import AsyncClient, DeviceAgent, Readings, UnreachableError

DEVICES = {
    "Pixel 8 Pro": ("Android 14", Readings(battery_level=85, battery_charging=True, cpu_usage=45)),
    "Pixel 9": ("Android 15", Readings(battery_level=92, battery_charging=False, cpu_usage=20)),
    "Galaxy S24": ("Android 14", Readings(battery_level=64, battery_charging=False, cpu_usage=33)),
    "Galaxy Tab S9": ("Android 14", Readings(battery_level=71, cpu_usage=12, memory_usage=62)),
    "iPhone 15": ("iOS 17", Readings(battery_level=55, battery_charging=False, cpu_usage=51)),
    "iPhone 13": ("iOS 16", Readings(battery_level=12, battery_charging=False, cpu_usage=38)),
    "OnePlus 12": ("Android 14", Readings(battery_level=80, cpu_usage=27, memory_usage=48)),
    "Xperia 1 V": ("Android 13", Readings(battery_level=98, cpu_usage=18, disk_usage=55)),
}


async def main(url: str) -> None:
    agents = [
        DeviceAgent(
            f"slave-{number:03d}",
            url,
            device_name=name,
            os_version=system,
            app_version="1.0.0",
            capabilities={"deployment": True},
            read_status=lambda readings=readings: readings,
        )
        for number, (name, (system, readings)) in enumerate(DEVICES.items(), start=1)
    ]
    async with AsyncClient(url) as master:
        await master.get_cluster_status()  # agents would wait until a node answers
        await asyncio.gather(*(agent.start() for agent in agents))
        status = await master.get_cluster_status()

    for agent in agents:
        logging.info("%s: %s", agent.identity.device_name, agent.identity.device_id)
        logging.info("  Ring: %s (%s)", agent.ring, agent.assignment.reason)
        logging.info("  Battery: %.0f%%", agent.status.battery_level)
        logging.info("  CPU: %.1f%%", agent.status.cpu_usage)
    logging.info("=" * 40)
    logging.info("CLUSTER STATUS UPDATE")
    logging.info("Total Slaves: %d", status["total_slaves"])
    logging.info("Healthy Devices: %d", status["healthy_devices"])
    logging.info("Ring Distribution:")
    for ring, devices in status["ring_distribution"].items():
        logging.info("  - %s: %d devices", ring, devices)
    await asyncio.gather(*(agent.stop() for agent in agents))


if __name__ == "__main__":
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s - %(levelname)s - %(message)s", stream=sys.stdout
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8701"))
    except UnreachableError as error:
        sys.exit(f"{error}; scripts/up --detach --devices 0 starts a cluster")
