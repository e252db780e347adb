"""Any healthy server, by chance from the scenario's seed."""

import random


def start(balancer):
    balancer.random = random.Random(balancer.seed)


def choose(balancer, request):
    servers = [server for server in balancer.servers if server.healthy] or balancer.servers
    return balancer.random.choice(servers).index
